"""Take out of a capsule what others are not to see."""
