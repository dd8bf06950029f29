"""The run folder: the ledger of what is done, its files and parts, on a disk or in S3, and who may write it."""
