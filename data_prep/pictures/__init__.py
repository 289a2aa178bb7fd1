"""Pictures of radar fields and charts of scores (extra `pictures`)."""

from data_prep.pictures.charts import Panel, line_chart, line_charts
from data_prep.pictures.pictures import Strip, film_strip, forecast_gif, forecast_picture
from data_prep.pictures.where import domain_map

__all__ = [
    "Panel",
    "Strip",
    "domain_map",
    "film_strip",
    "forecast_gif",
    "forecast_picture",
    "line_chart",
    "line_charts",
]
