"""The service that proves each range once, after its last recount."""
