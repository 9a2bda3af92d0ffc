<?php
// DokuWiki as it comes, with user accounts: its installer is skipped.
$conf['title'] = 'Wiki of tests';
$conf['lang'] = 'en';
$conf['useacl'] = 1;
$conf['authtype'] = 'authplain';
$conf['superuser'] = '@admin';
$conf['disableactions'] = 'register';
$conf['updatecheck'] = 0;
$conf['savedir'] = './data';
