"""vllm_engine"""
