"""selecting"""
