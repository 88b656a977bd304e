"""Train what a capsule holds again, and judge whether it breaks as it did."""
