"""Tools that write, run and check the notebooks: `python -m moe_course`."""
