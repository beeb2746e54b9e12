"""Aliyun's short message service, simulated on its wire format."""
