"""etl.yaml, environment and secret files as frozen models; docs/configuration.md lists the keys."""

from common.settings.effective import effective
from common.settings.extract import AuthSettings, ExtractSettings
from common.settings.load import InfluxSettings, LoadSettings, Tier, TierName
from common.settings.loading import DEFAULT_PATH, load_settings
from common.settings.model import Settings
from common.settings.pipeline import DeadLetterSettings, PipelineSettings
from common.settings.query import Query
from common.settings.rules import advice
from common.settings.transform import RelabelRule, TransformSettings

__all__ = [
    "DEFAULT_PATH",
    "AuthSettings",
    "DeadLetterSettings",
    "ExtractSettings",
    "InfluxSettings",
    "LoadSettings",
    "PipelineSettings",
    "Query",
    "RelabelRule",
    "Settings",
    "Tier",
    "TierName",
    "TransformSettings",
    "advice",
    "effective",
    "load_settings",
]
