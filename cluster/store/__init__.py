"""Run directories at URLs: objects, leases, manifests, and the copies that this machine works in."""
