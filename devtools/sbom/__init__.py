"""Bills of materials: which packages an image holds, with hashes and licences."""
