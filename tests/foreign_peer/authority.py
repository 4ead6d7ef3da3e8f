"""Keys, certificates and a revocation list, made with the openssl command (RFC 6109 §5.5)."""

import base64
import hashlib
import pathlib
import ssl
import subprocess

SETTINGS = """
[ca]
default_ca = own
[own]
dir = {folder}
database = {folder}/index.txt
serial = {folder}/serial
crlnumber = {folder}/crlnumber
new_certs_dir = {folder}
certificate = {folder}/authority.pem
private_key = {folder}/authority.key
default_md = sha256
default_days = 365
default_crl_days = 30
policy = any
copy_extensions = none
unique_subject = no
[any]
organizationName = supplied
commonName = optional
[req]
distinguished_name = nothing
[nothing]
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[provider]
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = email:{service}
[server]
keyUsage = critical, digitalSignature, keyEncipherment
subjectAltName = DNS:localhost, IP:127.0.0.1
"""


def openssl(*arguments, given=b"", check=True):
    words = ["openssl", *map(str, arguments)]
    done = subprocess.run(words, input=given, capture_output=True)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.decode(errors='replace')}")
    return done


class Certificate:
    def __init__(self, path, key):
        self.path, self.key = path, key
        self.der = ssl.PEM_cert_to_DER_cert(path.read_text())
        self.hash = hashlib.sha1(self.der).hexdigest()


class Authority:
    """A certification authority and what it issues to one provider."""

    def __init__(self, folder, provider, service):
        self.folder, self.provider, self.service = pathlib.Path(folder), provider, service
        self.settings = self.folder / "openssl.cnf"
        self.certificate, self.revocations = self.folder / "authority.pem", self.folder / "authority.crl"
        # Whoever has made one before finds it again: keys take long to draw.
        if not self.folder.exists():
            self.make()
        self.listed, self.unlisted, self.expired, self.revoked, self.server = (
            Certificate(self.folder / f"{name}.pem", self.folder / f"{key}.key")
            for name, key in (("listed", "main"), ("unlisted", "other"), ("expired", "other"), ("revoked", "other"),
                              ("server", "other")))

    def make(self):
        self.folder.mkdir(parents=True)
        self.settings.write_text(SETTINGS.format(folder=self.folder, service=self.service))
        (self.folder / "index.txt").write_text("")
        (self.folder / "serial").write_text("1000\n")
        (self.folder / "crlnumber").write_text("01\n")
        own_key = self.key("authority")
        openssl("req", "-new", "-x509", "-config", self.settings, "-extensions", "authority", "-key", own_key,
                "-subj", "/O=Autorita di prova/CN=Radice", "-days", "3650", "-out", self.certificate)
        # Whoever signs wrongly has a key of his own, once.
        main, other = self.key("main"), self.key("other")
        self.issue("listed", main, "provider")
        self.issue("unlisted", other, "provider")
        self.issue("expired", other, "provider", "-startdate", "20200101000000Z", "-enddate", "20210101000000Z")
        revoked = self.issue("revoked", other, "provider")
        self.issue("server", other, "server")
        openssl("ca", "-config", self.settings, "-revoke", revoked)
        openssl("ca", "-config", self.settings, "-gencrl", "-out", self.revocations)

    def key(self, name):
        path = self.folder / f"{name}.key"
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", path)
        return path

    def issue(self, name, key, profile, *dates):
        request, path = self.folder / f"{name}.csr", self.folder / f"{name}.pem"
        openssl("req", "-new", "-config", self.settings, "-key", key, "-subj", f"/O={self.provider}", "-out", request)
        openssl("ca", "-batch", "-notext", "-config", self.settings, "-extensions", profile, *dates,
                "-in", request, "-out", path)
        return path

    def signed(self, entity, certificate, digest):
        """A detached CMS signature over `entity`, DER."""
        return openssl("cms", "-sign", "-binary", "-outform", "DER", "-md", digest, "-signer", certificate.path,
                       "-inkey", certificate.key, "-certfile", self.certificate, given=entity).stdout

    def directory_entry(self, service, domains):
        """The provider's record (RFC 6109 §4.5): certificates that no longer count stand in it too."""
        lines = [f"dn: providerName={self.provider},o=postacert", "objectClass: top", "objectClass: provider",
                 f"providerName: {self.provider}", f"mailReceipt: {service}"]
        lines += [f"managedDomains: {domain}" for domain in domains]
        for number, certificate in enumerate((self.listed, self.expired, self.revoked)):
            # Hashes are compared without case.
            written = certificate.hash.upper() if number % 2 == 0 else certificate.hash
            lines.append(f"providerCertificateHash: {written}")
        for certificate in (self.listed, self.expired, self.revoked):
            lines.append(f"providerCertificate;binary:: {base64.b64encode(certificate.der).decode()}")
        return "\n".join(lines) + "\n\n"
