FROM node:24-slim

ENV NODE_ENV=production HOST=0.0.0.0 DATA_DIR=/data
WORKDIR /app

COPY package.json package-lock.json ./
# The web client is built as part of the install.
COPY web web
# The image brings Node, so the one among the packages may go.
RUN npm ci --omit=dev && npm cache clean --force && rm -rf node_modules/node-linux-*

COPY . .
# A named volume takes its owner from the folder that it is mounted over.
RUN install -d -o node -g node /data /uploads

USER node
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 3000}/readyz`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# As npm start does: a bound for what is short-lived. V8's own is several times that, is reached when a thousand sockets come
# back at once, and is kept from then on.
CMD ["node", "--max-semi-space-size=16", "bin/community.js", "serve"]
