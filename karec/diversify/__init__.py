"""Diversification steps: DPP, MMR and SSD over the candidates of a stage."""
