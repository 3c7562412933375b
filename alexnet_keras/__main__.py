"""`python -m alexnet_keras`: the command `alexnet`, where it is not on the PATH."""

from alexnet_keras.cli.main import main

if __name__ == "__main__":
    main()
