"""broker_local"""
