# SPDX-License-Identifier: Apache-2.0
"""The cases, a module for each subject. A function's name is the sentence that it checks."""
