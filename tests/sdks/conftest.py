"""What the tests of all SDKs share stands in this folder, which this file puts on the path."""
