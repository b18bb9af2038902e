"""Pictures for README and docs: the status page, and both dashboards' panels as plots."""
