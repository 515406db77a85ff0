"""The native library behind the ciphertext sums: TenSEAL's binding of SEAL, imported on first use only.

It makes keys and encryptions of zero and decrypts sums; everything else is arithmetic of ours. Its randomness is its
own, from the operating system: a seed that it is given would be used again for every ciphertext, which would open them.
This module must never give it bytes that `packing` has not checked.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from medfed.encoding import Record
from medfed.errors import InvalidInput, Unavailable
from medfed.homomorphic.packing import Coefficients, pack_key, unpack_key
from medfed.homomorphic.parameters import Parameters
from medfed.homomorphic.seal_format import read_words, version_of, write_ciphertext, write_plaintext

__all__ = ["Cipher", "KeyPair", "NativeCipher", "is_available", "need_library"]


class KeyPair(Record):
    """What the key holder makes for one study."""

    public: bytes
    """For everybody: hospitals encrypt under it."""
    secret: bytes
    """For the key holder's vault only."""


class Cipher(Protocol):
    """Keys, encryptions of zero and decryption, wherever they are computed."""

    def generate(self) -> KeyPair:
        """A fresh key pair.

        Raises:
            Unavailable: the library is not there.
        """
        ...

    def encrypt_zeros(self, public: bytes, count: int) -> Coefficients:
        """`count` fresh encryptions of zero under a public key: uint64 [count, 2, degree].

        Raises:
            InvalidInput: not a public key.
        """
        ...

    def decrypt(self, secret: bytes, ciphertexts: Coefficients) -> NDArray[np.uint32]:
        """The plaintexts of checked ciphertexts: uint32 [count, degree].

        Raises:
            InvalidInput: not a secret key, or a ciphertext that no key has encrypted.
        """
        ...


def is_available() -> bool:
    """Whether the library can be imported here."""
    return all(importlib.util.find_spec(name) is not None for name in ("tenseal", "zstandard"))


class NativeCipher:
    """A `Cipher` in this process. Not for several threads at once."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters: Final = parameters
        self._seal: Final = _import_library()
        self._file: Final = _MemoryFile()
        self._context: Final = self._make_context()
        self._version: Final = version_of(self._saved(self._seal.KeyGenerator(self._context).secret_key()))
        self._encryptor: tuple[bytes, Any] | None = None

    def generate(self) -> KeyPair:
        """A fresh key pair."""
        generator = self._seal.KeyGenerator(self._context)
        public = self._seal.PublicKey()
        generator.create_public_key(public)
        shape = (-1, 2, self._parameters.degree)
        words = read_words(self._saved(public), ciphertext=True).reshape(shape)
        secret = read_words(self._saved(generator.secret_key()), ciphertext=False).reshape(shape)
        return KeyPair(pack_key(words), pack_key(secret))

    def encrypt_zeros(self, public: bytes, count: int) -> Coefficients:
        """`count` fresh encryptions of zero."""
        encryptor, sealed = self._encryptor_for(public), self._seal.Ciphertext()
        made = np.empty((count, 2, self._parameters.degree), dtype=np.uint64)
        for row in made:
            encryptor.encrypt_zero(sealed)
            row[...] = read_words(self._saved(sealed), ciphertext=True).reshape(row.shape)
        return made

    def decrypt(self, secret: bytes, ciphertexts: Coefficients) -> NDArray[np.uint32]:
        """The plaintexts of ciphertexts that `packing` has checked."""
        words = unpack_key(self._parameters, secret, 1)
        key = self._seal.SecretKey()
        identity = self._context.key_parms_id()
        self._load(key, write_plaintext(words, identity, self._version), "secret key")
        decryptor = self._seal.Decryptor(self._context, key)
        plain = np.zeros((len(ciphertexts), self._parameters.degree), dtype=np.uint32)
        sealed, opened = self._seal.Ciphertext(), self._seal.Plaintext()
        for row, ciphertext in zip(plain, ciphertexts, strict=True):
            if not ciphertext[1].any():
                raise InvalidInput("ciphertext: nobody has encrypted it")
            self._load(sealed, self._ciphertext(ciphertext), "ciphertext")
            decryptor.decrypt(sealed, opened)
            found = read_words(self._saved(opened), ciphertext=False)
            row[: found.size] = found
        return plain

    def _ciphertext(self, ciphertext: Coefficients) -> bytes:
        words = ciphertext.reshape(2, 1, self._parameters.degree)
        return write_ciphertext(words, self._context.first_parms_id(), self._version, transformed=False)

    def _encryptor_for(self, public: bytes) -> Any:
        if self._encryptor is None or self._encryptor[0] != public:
            words = unpack_key(self._parameters, public, 2)
            key = self._seal.PublicKey()
            identity = self._context.key_parms_id()
            self._load(key, write_ciphertext(words, identity, self._version, transformed=True), "public key")
            self._encryptor = (public, self._seal.Encryptor(self._context, key))
        return self._encryptor[1]

    def _make_context(self) -> Any:
        seal, chosen = self._seal, self._parameters
        settings = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
        settings.set_poly_modulus_degree(chosen.degree)
        settings.set_coeff_modulus([seal.Modulus(chosen.modulus), seal.Modulus(chosen.special)])
        settings.set_plain_modulus(chosen.plain)
        context = seal.SEALContext(settings, True, seal.SEC_LEVEL_TYPE.TC128)
        if not context.parameters_set():
            raise InvalidInput(f"encryption parameters: refused by the library: {context.parameters_error_message()}")
        return context

    def _saved(self, thing: Any) -> bytes:
        self._file.write(b"")
        thing.save(self._file.path)
        return self._file.read()

    def _load(self, thing: Any, data: bytes, what: str) -> None:
        self._file.write(data)
        try:
            thing.load(self._context, self._file.path)
        except (RuntimeError, ValueError) as error:
            raise InvalidInput(f"{what}: refused by the library: {error}") from None


class _MemoryFile:
    """A file that is on no disk, because the library saves and loads by path only."""

    def __init__(self) -> None:
        if not hasattr(os, "memfd_create"):
            raise Unavailable("homomorphic protection needs Linux: keys must not be written to a disk on their way")
        self._handle: Final = os.memfd_create("medfed-homomorphic")
        self.path: Final = f"/proc/self/fd/{self._handle}"

    def write(self, data: bytes) -> None:
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, data, 0)

    def read(self) -> bytes:
        return os.pread(self._handle, os.fstat(self._handle).st_size, 0)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)


def need_library() -> None:
    """Check that the library can be imported here.

    Raises:
        Unavailable: it cannot; says what to install.
    """
    if not is_available():
        raise Unavailable("homomorphic protection needs TenSEAL: pip install 'medfed[he]'")


def _import_library() -> Any:
    need_library()
    try:
        return importlib.import_module("tenseal.sealapi")
    except ImportError as error:
        raise Unavailable(f"homomorphic protection: TenSEAL is installed but cannot be loaded: {error}") from None
