"""The compiled data plane under BPF_PROG_TEST_RUN, and the Python that stands beside it."""
