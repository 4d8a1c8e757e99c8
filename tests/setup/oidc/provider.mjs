// An OpenID provider for the tests: the certified `oidc-provider`, on a free loopback port, all in memory.
//   node provider.mjs FILE    writes the issuer's URL to FILE when it listens
// What the tests rely on (clients, resources, the user) is below and in host/oidc/tests/oidc/provider.rs.
import { generateKeyPairSync } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Provider, errors } from 'oidc-provider';

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const USERS = [
  { sub: 'ada', name: 'Ada', groups: ['physics', 'physics/lhc'], organisation_name: 'indigo' },
  { sub: 'bob', name: 'Bob', groups: ['chemistry'], organisation_name: 'other' },
  { sub: 'eve', name: 'Eve', groups: ['/operators'], organisation_name: 'indigo' },
];
const account = (id) => USERS.find((user) => user.sub === id);

function key(kind, options, alg) {
  const { privateKey } = generateKeyPairSync(kind, options);
  return { ...privateKey.export({ format: 'jwk' }), kid: alg.toLowerCase(), alg, use: 'sig' };
}

// Which tokens a client gets for which resource (RFC 8707).
const resources = {
  'urn:ostler:rs256': { audience: 'ostler', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } },
  'urn:ostler:es256': { audience: 'ostler', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } },
  'urn:ostler:opaque': { audience: 'ostler', accessTokenFormat: 'opaque' },
  'urn:other': { audience: 'other', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } },
};

const withoutBrowser = { redirect_uris: [], response_types: [] };
const configuration = {
  clients: [
    // Us. The secret contains what form encoding changes.
    { client_id: 'ostler', client_secret: 's3cr3t:+ %canary', grant_types: ['refresh_token', EXCHANGE], ...withoutBrowser },
    { client_id: 'robot', client_secret: 'robots-secret', grant_types: ['client_credentials'], ...withoutBrowser },
    { client_id: 'orchent', client_secret: 'orchents-secret', redirect_uris: ['https://client.example/back'] },
  ],
  jwks: { keys: [key('rsa', { modulusLength: 2048 }, 'RS256'), key('ec', { namedCurve: 'P-256' }, 'ES256')] },
  cookies: { keys: ['not used'] },
  claims: { openid: ['sub'], profile: ['name', 'groups', 'organisation_name'] },
  findAccount: (ctx, id) => (account(id) ? { accountId: id, claims: () => account(id) } : undefined),
  // Every refresh token is good for one use.
  rotateRefreshToken: true,
  ttl: { AccessToken: 3600, ClientCredentials: 600, Grant: 86400, RefreshToken: 86400 },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: (ctx, client) => client.clientId === 'ostler' },
    revocation: { enabled: true, allowedPolicy: (ctx, client, token) => client.clientId === token.clientId },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(ctx, indicator) {
        if (!resources[indicator]) throw new errors.InvalidTarget();
        return { scope: 'deploy read', accessTokenTTL: 600, ...resources[indicator] };
      },
    },
  },
};

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  provider.on('server_error', (ctx, error) => console.error(error));

  // Tokens of a user without the pages on which she would log in and agree.
  async function grant(client, accountId, scope, kinds) {
    const agreed = new provider.Grant({ accountId, clientId: client.clientId });
    agreed.addOIDCScope(scope);
    const grantId = await agreed.save();
    const token = { accountId, client, grantId, gty: 'authorization_code', scope };
    return Promise.all(kinds.map((kind) => new provider[kind](token).save()));
  }

  provider.registerGrantType(EXCHANGE, async (ctx) => {
    const { client, params } = ctx.oidc;
    if (params.subject_token_type !== ACCESS_TOKEN) throw new errors.InvalidRequest('subject_token_type');
    const subject = await provider.AccessToken.find(params.subject_token);
    if (!subject) throw new errors.InvalidGrant('unknown subject token');
    const scope = params.scope;
    const offline = scope.split(' ').includes('offline_access');
    const [access, refresh] = await grant(client, subject.accountId, scope, offline ? ['AccessToken', 'RefreshToken'] : ['AccessToken']);
    ctx.body = {
      access_token: access,
      issued_token_type: ACCESS_TOKEN,
      token_type: 'Bearer',
      expires_in: 3600,
      scope,
      refresh_token: refresh,
    };
  }, ['subject_token', 'subject_token_type', 'scope', 'audience']);

  // The tokens that its userinfo endpoint takes have no audience with this provider; ours are for ostler nonetheless.
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.oidc?.route === 'introspection' && ctx.body?.active) ctx.body.aud ??= 'ostler';
  });

  const callback = provider.callback();
  server.on('request', async (request, response) => {
    const url = new URL(request.url, issuer);
    if (request.method !== 'POST' || url.pathname !== '/test/login') return callback(request, response);
    try {
      const client = await provider.Client.find('orchent');
      const scope = url.searchParams.get('scope') ?? 'openid profile';
      const [token] = await grant(client, url.searchParams.get('sub') ?? 'ada', scope, ['AccessToken']);
      return response.setHeader('content-type', 'application/json').end(JSON.stringify({ access_token: token }));
    } catch (error) {
      console.error(error);
      return response.writeHead(500).end();
    }
  });

  const [, , file] = process.argv;
  writeFileSync(`${file}.new`, issuer);
  renameSync(`${file}.new`, file);
});
