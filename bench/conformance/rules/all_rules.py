"""All rules in the order in which they are checked, and how one is checked."""

from bench.conformance.loading import at_fault
from bench.conformance.rule import NotApplicable, Rule, RuleOutcome, Unmet
from bench.conformance.rules import contract, encoder, learning, resources
from bench.conformance.trial import Trial

RULES: tuple[Rule, ...] = (*contract.RULES, *learning.RULES, *encoder.RULES, *resources.RULES)

# Rules without which no training step can be taken.
NEEDED = {"views", "losses"}


def check_rule(rule: Rule, trial: Trial, unmet: set[str]) -> RuleOutcome:
    """Check one rule.

    Args:
        rule: to check.
        trial: of the method.
        unmet: names of the rules found unmet so far; this one is added if it is not met.
    """
    if rule.trains and not trial.method.pretrains:
        return RuleOutcome(
            rule.name, "skip", rule.expected, "the method does not pretrain (pretrains is False)"
        )
    if rule.trains and unmet & NEEDED:
        reason = f"cannot be checked while {' and '.join(sorted(unmet & NEEDED))} fails"
        return RuleOutcome(rule.name, "skip", rule.expected, reason)
    try:
        with trial.watch.watching():
            found = rule.find(trial)
    except NotApplicable as not_applicable:
        return RuleOutcome(rule.name, "skip", rule.expected, str(not_applicable))
    except Unmet as not_met:
        found = str(not_met)
    except (Exception, SystemExit) as error:
        found = at_fault(error, trial.source)
    else:
        return RuleOutcome(rule.name, "pass", rule.expected, found)
    unmet.add(rule.name)
    return RuleOutcome(rule.name, "fail", rule.expected, found, rule.hint)
