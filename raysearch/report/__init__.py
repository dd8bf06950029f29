"""What people look at: tables for other programs."""
