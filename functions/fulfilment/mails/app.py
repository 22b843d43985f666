"""Access keys and certificates, mailed to whom they are for: the consumer of the mails' queue."""

from ordering.entry import mails

handler = mails.mails_from_environment()
