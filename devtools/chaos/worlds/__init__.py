"""What faults are done to beside the rig itself: pushes, replicas, a Redis that fails over."""
