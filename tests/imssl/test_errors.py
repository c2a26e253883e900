from imssl.errors import UserError, printable


def test_names_are_printed_without_what_a_terminal_obeys():
    assert printable("a\x1b[2J\n\udce9\u202e") == r"a\x1b[2J\n\xe9\u202e"
    assert printable("Ü 图 'x'") == "Ü 图 'x'"


def test_a_message_keeps_its_lines():
    assert str(UserError("one\n\ttwo\x07")) == "one\n\ttwo\\x07"
