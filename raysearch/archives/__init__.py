"""Which targets and observations exist, and where their products are: SIMBAD, MAST, and tables of the user's own."""
