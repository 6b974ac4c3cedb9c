// A run without a comparison: as soon as it has one, its page takes the place of this one.

const loadPage = () => new Promise(() => location.reload());
listen({ take: () => undefined, reload: loadPage });
