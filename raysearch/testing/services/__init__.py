"""The services of the embedded archive, each in the wire format of the real one."""
