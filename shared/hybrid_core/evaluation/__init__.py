"""Evaluation: systems measured on questions with known answers, with the uncertainty of each figure.

    datasets, synthetic  ->  systems, running  ->  metrics, significance, comparison  ->  results  ->  report

`bridges` and `mteb` carry the same to other tools. Names are imported when first used. Needs the extra `eval`, and
`mteb` the one of its name.
"""

from typing import TYPE_CHECKING

from .._lazy import lazy_exports

if TYPE_CHECKING:
    from .bridges import langsmith_evaluator as langsmith_evaluator
    from .bridges import langsmith_examples as langsmith_examples
    from .comparison import Comparison as Comparison
    from .comparison import QueryDifference as QueryDifference
    from .datasets import EvaluationSet as EvaluationSet
    from .datasets import read_beir as read_beir
    from .datasets import read_csv as read_csv
    from .datasets import read_set as read_set
    from .datasets import read_trec as read_trec
    from .embedding_quality import BitextResult as BitextResult
    from .embedding_quality import ClusteringResult as ClusteringResult
    from .embedding_quality import StsResult as StsResult
    from .embedding_quality import bitext as bitext
    from .embedding_quality import clustering as clustering
    from .embedding_quality import sts as sts
    from .evaluator import evaluate as evaluate
    from .metrics import measure as measure
    from .metrics import pairwise_accuracy as pairwise_accuracy
    from .mteb.models import MtebCrossEncoder as MtebCrossEncoder
    from .mteb.models import MtebEncoder as MtebEncoder
    from .mteb.search import MtebSearch as MtebSearch
    from .mteb.task import mteb_task as mteb_task
    from .report import write_report as write_report
    from .results import Evaluation as Evaluation
    from .results import Latency as Latency
    from .results import SystemResult as SystemResult
    from .running import SystemRun as SystemRun
    from .running import run_systems as run_systems
    from .significance import Interval as Interval
    from .significance import bootstrap_interval as bootstrap_interval
    from .significance import randomisation_test as randomisation_test
    from .synthetic import synthetic_set as synthetic_set
    from .synthetic_llm import synthetic_llm_set as synthetic_llm_set
    from .systems import System as System
    from .systems import named_systems as named_systems
    from .trec import read_run as read_run
    from .trec import write_run as write_run
    from .tuning import Tuning as Tuning
    from .tuning import tune as tune

__getattr__, __all__ = lazy_exports(
    __name__,
    {
        **dict.fromkeys("langsmith_evaluator langsmith_examples".split(), ".bridges"),
        **dict.fromkeys("Comparison QueryDifference".split(), ".comparison"),
        **dict.fromkeys("EvaluationSet read_beir read_csv read_set read_trec".split(), ".datasets"),
        **dict.fromkeys("BitextResult ClusteringResult StsResult bitext clustering sts".split(), ".embedding_quality"),
        "evaluate": ".evaluator",
        **dict.fromkeys("measure pairwise_accuracy".split(), ".metrics"),
        **dict.fromkeys("MtebCrossEncoder MtebEncoder".split(), ".mteb.models"),
        "MtebSearch": ".mteb.search",
        "mteb_task": ".mteb.task",
        "write_report": ".report",
        **dict.fromkeys("Evaluation Latency SystemResult".split(), ".results"),
        **dict.fromkeys("SystemRun run_systems".split(), ".running"),
        **dict.fromkeys("Interval bootstrap_interval randomisation_test".split(), ".significance"),
        "synthetic_set": ".synthetic",
        "synthetic_llm_set": ".synthetic_llm",
        **dict.fromkeys("System named_systems".split(), ".systems"),
        **dict.fromkeys("read_run write_run".split(), ".trec"),
        **dict.fromkeys("Tuning tune".split(), ".tuning"),
    },
)
