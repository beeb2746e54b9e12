"""WeChat's server interface for mini-programs: who somebody is, and their number."""
