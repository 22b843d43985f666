"""`ordering mail`: the mails that the local run has sent, which nobody gets."""

from __future__ import annotations

import argparse
from typing import Any

from ordering_tools.commands import does
from ordering_tools.installation import Installation, NoInstallation, NotDone
from ordering_tools.local.mails import Mail, sent_mails
from ordering_tools.local.state import find


def add_arguments(commands: Any) -> None:
    """Declare the commands and their arguments."""
    does(commands.add_parser("list", help="what was sent, oldest first"), run_list)
    show = commands.add_parser("show", help="a mail as it was sent")
    show.add_argument("number", nargs="?", type=int, help="its number in the list (the last)")
    does(show, run_show)


def run_list(_: Installation, arguments: argparse.Namespace) -> None:
    """Print the mails, a line each."""
    for number, mail in enumerate(_mails(arguments), 1):
        print(f"{number:>3}  {mail.at:%Y-%m-%d %H:%M:%SZ}  {', '.join(mail.recipients)}  {mail.subject}")


def run_show(_: Installation, arguments: argparse.Namespace) -> None:
    """Print a mail."""
    mails = _mails(arguments)
    number = len(mails) if arguments.number is None else arguments.number
    if not 1 <= number <= len(mails):
        raise NotDone(f"there is no mail {number}; there are {len(mails)}" if mails else "no mail was sent")
    mail = mails[number - 1]
    print(f"Date: {mail.at:%Y-%m-%d %H:%M:%SZ}\nFrom: {mail.sender}\nTo: {', '.join(mail.recipients)}")
    print(f"Subject: {mail.subject}\n\n{mail.text or mail.html}")


def _mails(arguments: argparse.Namespace) -> list[Mail]:
    running = find(arguments.state)
    if running is None:
        raise NoInstallation("the local run is not running; start it with `make serve`")
    return sent_mails(running.services)
