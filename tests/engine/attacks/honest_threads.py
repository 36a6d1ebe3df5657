# must: score=full
"""Works with threads and processes, and leaves some running."""

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor

threading.Thread(target=time.sleep, args=(1000,)).start()
pool = ThreadPoolExecutor(2)


def count_vowels(text):
    return sum(pool.map(lambda letter: letter in "aeiou", text.lower()))


def in_another_process():
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0,))
    process.start()
    process.join()


in_another_process()
