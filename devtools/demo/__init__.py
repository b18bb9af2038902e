"""The whole pipeline on this machine for a while, and the proof that it lost nothing."""
