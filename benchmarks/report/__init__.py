"""Every figure and table of the documentation, rebuilt from stored result files: `make report`."""
