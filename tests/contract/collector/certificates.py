"""Certificates that a test makes: any purpose, any dates."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from cryptography.x509.oid import NameOID

CLIENT, SERVER = Purpose.CLIENT_AUTH, Purpose.SERVER_AUTH
A_DAY = datetime.timedelta(days=1)


def _pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


class Authority:
    """FOLDER/NAME.pem and what it signs; `above` is the authority that signs it."""

    def __init__(self, folder, name, above=None):
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.cert = (above or self)._sign(name, self.key.public_key(), ca=True)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self.pem())

    def pem(self):
        return self.cert.public_bytes(serialization.Encoding.PEM)

    def _sign(self, name, public, ca=False, purposes=(), days=(-1, 1)):
        now = datetime.datetime.utcnow()
        b = (x509.CertificateBuilder()
             .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
             .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
             .public_key(public).serial_number(x509.random_serial_number())
             .not_valid_before(now + days[0] * A_DAY).not_valid_after(now + days[1] * A_DAY)
             .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True))
        if not ca:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            b = b.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if purposes:
            b = b.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
        return b.sign(self.key, hashes.SHA256())

    def issue(self, name, *purposes, days=(-1, 1), weak=False, chain=()):
        """(certificate file, key file)"""
        key = rsa.generate_private_key(65537, 1024) if weak else ec.generate_private_key(ec.SECP256R1())
        cert = self._sign(name, key.public_key(), purposes=purposes, days=days)
        crt_path, key_path = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        crt_path.write_bytes(cert.public_bytes(serialization.Encoding.PEM) + b"".join(a.pem() for a in chain))
        key_path.write_bytes(_pem(key))
        return str(crt_path), str(key_path)
