"""etl.yaml, environment and secret files as frozen models; docs/configuration.md lists the keys."""

from common.config.checks.rules import advice
from common.config.extract import ExtractSettings
from common.config.in_force import InForce
from common.config.load import InfluxSettings, LoadSettings, Tier
from common.config.model import Settings, effective
from common.config.pipeline import DeadLetterSettings, PipelineSettings
from common.config.query import Query, TierName
from common.config.reading.loading import DEFAULT_PATH, config_path, file_digest, load_settings
from common.config.source_auth import AuthSettings, OAuth2Settings
from common.config.transform import RelabelRule, TransformSettings

__all__ = [
    "DEFAULT_PATH",
    "AuthSettings",
    "DeadLetterSettings",
    "ExtractSettings",
    "InForce",
    "InfluxSettings",
    "LoadSettings",
    "OAuth2Settings",
    "PipelineSettings",
    "Query",
    "RelabelRule",
    "Settings",
    "Tier",
    "TierName",
    "TransformSettings",
    "advice",
    "config_path",
    "effective",
    "file_digest",
    "load_settings",
]
