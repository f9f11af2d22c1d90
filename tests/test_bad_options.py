"""Wrong option files end in one clear message, before anything is created: in this process, and as a command.

What is said of each option is in tests/ext_core/test_check_options.py.
"""

import subprocess
import sys
from pathlib import Path

import bad_input_run
import yaml
from bad_input_run import TIMEOUT

run = bad_input_run.run

PROJECT = Path(__file__).resolve().parents[1]


def test_the_unspoilt_recipe_trains(run):
    status, printed = run.launch()
    assert status == 0, printed
    assert (run.root / 'experiments' / 'run' / 'models' / 'net_g_4.pth').is_file()


def test_all_problems_are_listed_at_once(run):
    run.put('model_type', 'SRModle')
    run.put('datasets:train:dataroot_lq', 'gone')
    run.put('network_g:num_fet', 8)
    run.refused('3 problems; nothing was created', "model_type: there is no model 'SRModle'", 'folder not found: gone',
                'network_g:num_fet', "'num_feat'")  # fmt: skip


def test_the_command_prints_the_message_and_no_traceback(run):
    run.put('name', 'bad_input_of_the_test_suite')
    run.put('datasets:train:dataroot_gt', '/nonexistent/gt')
    option_file = run.root / 'opt.yml'
    option_file.write_text(yaml.safe_dump(run.opt))
    command = [sys.executable, 'basicsr/train.py', '-opt', str(option_file)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 1
    assert done.stderr.count('error: ') == 1
    assert 'folder not found: /nonexistent/gt' in done.stderr
    assert 'Traceback' not in done.stdout + done.stderr
    assert not (PROJECT / 'experiments' / 'bad_input_of_the_test_suite').exists()
