"""Selectors: each one chooses the best candidates and their order."""

from collections.abc import Mapping

from karec.pipeline.step import Selector
from karec.steps.selectors.dpp import Dpp
from karec.steps.selectors.inner_product import InnerProduct
from karec.steps.selectors.mmr import Mmr
from karec.steps.selectors.page_rules import PageRules
from karec.steps.selectors.random_position import RandomPosition
from karec.steps.selectors.ssd import Ssd
from karec.steps.selectors.top_k import TopK

STEPS: Mapping[str, type[Selector]] = {
    "dpp": Dpp,
    "inner_product": InnerProduct,
    "mmr": Mmr,
    "page_rules": PageRules,
    "random_position": RandomPosition,
    "ssd": Ssd,
    "top_k": TopK,
}
