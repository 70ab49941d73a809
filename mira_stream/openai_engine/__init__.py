"""openai_engine"""
