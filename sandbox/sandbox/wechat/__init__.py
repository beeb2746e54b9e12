"""WeChat Pay API v3, Native payments for one merchant, as strict as the original."""
