import {EventStoreDBClient} from '@eventstore/db-client'

/** The whole log as the bare client reads it, whoever's events they are: how many, and how many a second. */
const {url} = JSON.parse(process.argv[2]!) as {url: string}
const client = EventStoreDBClient.connectionString(url)
const began = performance.now()
let read = 0
for await (const _ of client.readAll()) read++
const perSecond = (read * 1_000) / (performance.now() - began)
process.stdout.write(JSON.stringify({read, perSecond}), () => process.exit(0))
