"""The administration site of a little Django project, on which the page guard is tried."""

import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_of_tests.settings")
execute_from_command_line(sys.argv)
