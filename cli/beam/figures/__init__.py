"""The 22 figures of reliability: wanted, measured, whether it holds, or why not."""
