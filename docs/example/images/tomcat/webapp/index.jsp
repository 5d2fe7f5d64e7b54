<%@ page contentType="text/plain" session="false" import="java.io.*, java.net.*, java.nio.file.*, java.util.*" %><%!
  /* Speaks just enough of the Redis protocol to count visits. */
  static String ask(Properties shop, String... words) throws IOException {
    try (Socket socket = new Socket()) {
      String[] cache = shop.getProperty("cache").split(":");
      socket.connect(new InetSocketAddress(cache[0], Integer.parseInt(cache[1])), 1000);
      socket.setSoTimeout(1000);
      String password = Files.readString(Path.of("/run/secrets/CACHE_PASSWORD")).trim();
      OutputStream out = socket.getOutputStream();
      out.write(("AUTH " + password + "\r\n" + String.join(" ", words) + "\r\n").getBytes());
      BufferedReader in = new BufferedReader(new InputStreamReader(socket.getInputStream()));
      in.readLine();
      return in.readLine().substring(1);
    }
  }
%><%
  Properties shop = new Properties();
  try (InputStream file = new FileInputStream("/etc/shop/catalog.properties")) { shop.load(file); }
%>Welcome to the shop.
You are visitor <%= ask(shop, "INCR", "visits") %>, served by instance <%= shop.getProperty("instance") %>.
