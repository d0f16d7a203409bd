// The -addr flag and the line that says that the server listens.
export function options() {
  const at = process.argv.indexOf("-addr");
  const [host, port] = (process.argv[at + 1] ?? "").split(":");
  if (at < 0 || !port) {
    console.error("usage: -addr HOST:PORT");
    process.exit(2);
  }
  return { host, port: Number(port) };
}

export function listen(server) {
  server.on("listening", () => {
    const { address, port } = server.address();
    console.log(`listening on ${address}:${port}`);
  });
}
