"""All rules in the order of the table, and how one is tried."""

from bench.conformance.check import NotApplicable, Rule, RuleOutcome, Unmet
from bench.conformance.loading import at_fault
from bench.conformance.rules import contract, encoder, learning, machine
from bench.conformance.trial import Trial

RULES: tuple[Rule, ...] = (*contract.RULES, *learning.RULES, *encoder.RULES, *machine.RULES)

# Without views and losses there is nothing to train.
NEEDED = {"views", "losses"}


def try_rule(rule: Rule, trial: Trial, unmet: set[str]) -> RuleOutcome:
    """What comes of a rule; one that is not met is entered in ``unmet``."""
    if rule.trains and not trial.method.pretrains:
        return RuleOutcome(
            rule.name, "skip", rule.expected, "the method does not pretrain (pretrains is False)"
        )
    if rule.trains and unmet & NEEDED:
        return RuleOutcome(rule.name, "skip", rule.expected, f"cannot be tried while {_listed(unmet)} fails")
    try:
        with trial.watch.watching():
            found = rule.find(trial)
    except NotApplicable as reason:
        return RuleOutcome(rule.name, "skip", rule.expected, str(reason))
    except Unmet as reason:
        found = str(reason)
    except (Exception, SystemExit) as error:
        found = at_fault(error, trial.source)
    else:
        return RuleOutcome(rule.name, "pass", rule.expected, found)
    unmet.add(rule.name)
    return RuleOutcome(rule.name, "fail", rule.expected, found, rule.hint)


def _listed(unmet: set[str]) -> str:
    return " and ".join(sorted(unmet & NEEDED))
