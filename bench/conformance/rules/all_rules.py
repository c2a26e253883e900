"""All rules in the order in which they are checked, and how one is checked."""

from bench.conformance.advice import advice
from bench.conformance.loading import at_fault
from bench.conformance.rule import Need, NotApplicable, NotFinite, Rule, RuleOutcome, Unmet
from bench.conformance.rules import (
    contract,
    encoder,
    information,
    learning,
    losses,
    processes,
    resources,
    updates,
)
from bench.conformance.trial import Trial

RULES: tuple[Rule, ...] = (
    *contract.RULES,
    *losses.RULES,
    *updates.RULES,
    *learning.RULES,
    *encoder.RULES,
    *processes.RULES,
    *resources.RULES,
    *information.RULES,
)

# Rules without which the method cannot be built, and without which no training step can be taken.
BUILDING = {"construction"}
STEPPING = {"construction", "views", "losses", "optimiser"}
# What the steps of most rules need.
FINITE = "finite steps"


def check_rule(rule: Rule, trial: Trial) -> RuleOutcome:
    """Check one rule, and note in the trial what was found if it is not met."""
    if rule.needs == "step" and not trial.method.pretrains:
        return RuleOutcome(
            rule.name, "skip", rule.expected, "the method does not pretrain (pretrains is False)"
        )
    missing = sorted(trial.unmet.keys() & _needed(rule.needs, trial))
    if missing:
        reason = f"cannot be checked while {' and '.join(missing)} fails"
        return RuleOutcome(rule.name, "skip", rule.expected, reason)
    hint = rule.hint
    try:
        with trial.watch.watching():
            found = rule.find(trial)
    except NotApplicable as not_applicable:
        return RuleOutcome(rule.name, "skip", rule.expected, str(not_applicable))
    except NotFinite as not_finite:
        if FINITE in trial.unmet:
            return RuleOutcome(rule.name, "skip", rule.expected, f"cannot be checked while {FINITE} fails")
        found, hint = str(not_finite), not_finite.hint
    except Unmet as not_met:
        found, hint = str(not_met), not_met.hint or hint
    except (Exception, SystemExit) as error:
        found, hint = at_fault(error, trial.source), advice(error)
    else:
        return RuleOutcome(rule.name, "info" if rule.informs else "pass", rule.expected, found)
    # The same line at fault in one rule after another is one mistake.
    earlier = next((name for name, fault in trial.unmet.items() if fault == found), None)
    if earlier is not None:
        reason = f"cannot be checked while {earlier} fails"
        return RuleOutcome(rule.name, "skip", rule.expected, reason)
    trial.unmet[rule.name] = found
    return RuleOutcome(rule.name, "fail", rule.expected, found, hint)


def _needed(need: Need, trial: Trial) -> set[str]:
    if need == "file":
        return set()
    if need == "method" or (need == "encoder" and not trial.method.pretrains):
        return BUILDING
    return STEPPING
