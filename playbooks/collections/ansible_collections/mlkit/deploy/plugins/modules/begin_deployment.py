#!/usr/bin/python
"It is the action plugin of this name that runs, on the machine that runs the playbook."
