"""What must hold between sections and between queries."""
