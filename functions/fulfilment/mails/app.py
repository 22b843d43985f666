"""The consumer of the mails' queue, which mails access keys and certificates."""

from ordering.entry import mails

handler = mails.mails_from_environment()
