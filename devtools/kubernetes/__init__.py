"""The Helm chart: rendered to deploy/kubernetes, and checked; needs no cluster."""
